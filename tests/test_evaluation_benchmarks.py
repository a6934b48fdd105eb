"""Each benchmark on a made-up data set in the official layout, with numbers that follow by hand."""

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from scipy.io import savemat

from cell_colors import CellColors, cell_picture
from dift_edit.cli import main
from dift_edit.clips.labels.masks import read_mask, write_mask
from dift_edit.errors import DatasetError
from dift_edit.evaluation import (
    BENCHMARKS,
    BenchmarkOptions,
    compare_reports,
    load_benchmark,
    load_report,
    run_benchmark,
)
from dift_edit.evaluation.homographies import load_keypoints
from dift_edit.evaluation.runner import spread
from dift_edit.evaluation.tss import read_flow

SHIFT = 16


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path, quality=100, subsampling=0)
    return path


def run(name: str, root: Path, folder: Path, **options):
    return run_benchmark(name, root, CellColors(), options=BenchmarkOptions(**options), folder=folder)


def spair_root(root: Path) -> Path:
    """Two pairs whose targets are shifted; errors of the annotation 0, 0, 8, 12 and 0 at a box of 100."""
    folder = root / "JPEGImages" / "cat"
    save(folder / "a.jpg", cell_picture())
    save(folder / "b.jpg", np.roll(cell_picture(), SHIFT, 1))
    for number, errors in enumerate(([0, 0, 8, 12], [0])):
        points = [[12 + 10 * k, 20 + 8 * k] for k in range(len(errors))]
        record = {
            "src_imname": "a.jpg", "trg_imname": "b.jpg", "category": "cat", "src_kps": points,
            "trg_kps": [[x + SHIFT, y + error] for (x, y), error in zip(points, errors, strict=True)],
            "src_bndbox": [0, 0, 90, 60], "trg_bndbox": [0, 0, 100, 60],
        }  # fmt: skip
        path = root / "PairAnnotation" / "test" / f"00000{number}-a-b:cat.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record))
    return root


@pytest.mark.parametrize("protocol", ["released", "corrected"])
def test_spair(tmp_path: Path, protocol: str) -> None:
    report = run("spair", spair_root(tmp_path / "s"), tmp_path / "p", protocol=protocol)
    for row in (report.rows["cat"], report.rows["all"]):
        assert row["PCK@0.05 per image"] == pytest.approx(75) and row["PCK@0.05 per point"] == pytest.approx(60)
        assert row["PCK@0.1 per image"] == pytest.approx(87.5) and row["PCK@0.1 per point"] == pytest.approx(80)
        assert row["PCK@0.15 per image"] == row["PCK@0.15 per point"] == pytest.approx(100)
    assert report.headline == "PCK@0.1 per image" and report.value == pytest.approx(87.5)


def test_spair_relative_to_the_picture(tmp_path: Path) -> None:
    report = run("spair", spair_root(tmp_path / "s"), tmp_path / "p", threshold="image")  # 96 px: 4.8, 9.6, 14.4
    assert report.rows["all"]["PCK@0.1 per point"] == pytest.approx(80)


def willow_root(root: Path) -> tuple[Path, np.ndarray]:
    """Two images, the second shifted and one keypoint of it 3 pixels off; and the keypoints of the first."""
    save(root / "car(G)" / "one.png", cell_picture())
    save(root / "car(G)" / "two.png", np.roll(cell_picture(), SHIFT, 1))
    points = np.array([[20.0, 12], [40, 52], [60, 30]])  # extent 40×40: thresholds 2, 4, 6
    wrong = points + [SHIFT, 0] + np.array([[0, 0], [0, 0], [3, 0]])
    savemat(root / "car(G)" / "one.mat", {"pts_coord": points.T + 1})
    savemat(root / "car(G)" / "two.mat", {"pts_coord": wrong.T + 1})
    return root, points


def test_pf_willow_counts_from_one(tmp_path: Path) -> None:
    root, points = willow_root(tmp_path / "w")
    report = run("pf-willow", root, tmp_path / "p", protocol="corrected")
    assert len(report.scores) == 2
    # one → two: errors 0, 0, 3 at an extent of 43; two → one: the same at 40.
    assert report.rows["car(G)"]["PCK@0.05 per image"] == pytest.approx(100 * 2 / 3)
    assert report.rows["all"]["PCK@0.1 per image"] == pytest.approx(100)
    exact = json.loads((tmp_path / "p" / "predictions.jsonl").read_text().splitlines()[0])
    np.testing.assert_allclose(exact["prediction"]["points"], points + [SHIFT, 0], atol=0.5)


def test_pf_pascal(tmp_path: Path) -> None:
    root = tmp_path / "PF-dataset-PASCAL"
    save(root / "JPEGImages" / "x.jpg", cell_picture())
    save(root / "JPEGImages" / "y.jpg", np.roll(cell_picture(), SHIFT, 1))
    (root / "test_pairs_pf_pascal.csv").write_text(
        "source_image,target_image,class,XA,YA,XB,YB\n"
        "PF-dataset-PASCAL/JPEGImages/x.jpg,PF-dataset-PASCAL/JPEGImages/y.jpg,8,21;41,13;53,37;57,13;61\n"
    )
    # Truth of the second keypoint is off by 8; the extent is 20×48, so that thresholds are 2.4, 4.8, 7.2.
    report = run("pf-pascal", tmp_path, tmp_path / "p")
    assert list(report.rows) == ["cat", "all"]
    assert report.rows["cat"]["PCK@0.15 per image"] == pytest.approx(50)


def cub_root(root: Path) -> Path:
    pixels = cell_picture()
    for number in range(4):
        save(root / "images" / "1.bird" / f"{number}.jpg", np.roll(pixels, SHIFT * number, 1))
    lines = {
        "images": [f"{n + 1} 1.bird/{n}.jpg" for n in range(4)],
        "image_class_labels": ["1 1", "2 1", "3 2", "4 2"],
        "train_test_split": ["1 0", "2 0", "3 0", "4 1"],
        "bounding_boxes": [f"{n + 1} 0.0 0.0 80.0 60.0" for n in range(4)],
    }
    for name, content in lines.items():
        (root / f"{name}.txt").write_text("\n".join(content) + "\n")
    (root / "parts").mkdir()
    parts = [
        f"{n + 1} {part} {12.0 + SHIFT * n + 8 * part} {20.0} {int(part != 3)}" for n in range(4) for part in (1, 2, 3)
    ]
    (root / "parts" / "part_locs.txt").write_text("\n".join(parts) + "\n")
    (root / "mine.txt").write_text("1.bird/0.jpg\n1.bird/3.jpg\n")
    return root


def test_cub(tmp_path: Path) -> None:
    root = cub_root(tmp_path / "CUB_200_2011")
    report = run("cub", tmp_path, tmp_path / "p", pairs=6)
    assert len(report.scores) == 6 and {"same species", "other species", "all"} == set(report.rows)
    assert report.rows["all"]["PCK@0.05 per point"] == 100
    listed = run("cub", root, tmp_path / "q", split="mine.txt")
    assert set(listed.scores) == {"1-4", "4-1"} and all(score["count"] == 2 for score in listed.scores.values())
    with pytest.raises(DatasetError, match="neither test"):
        run("cub", root, tmp_path / "r", split="other")


def write_flow(path: Path, flow: np.ndarray) -> None:
    size = np.array(flow.shape[1::-1], "<i4")
    path.write_bytes(np.float32(202021.25).tobytes() + size.tobytes() + flow.astype("<f4").tobytes())


def test_tss_both_directions_and_flipped_pairs(tmp_path: Path) -> None:
    pixels = cell_picture()
    moved = np.roll(pixels, SHIFT, 1)
    for pair, second, flip in (("001", moved, "0"), ("002", moved[:, ::-1], "1")):
        folder = tmp_path / "t" / "JODS" / pair
        save(folder / "image1.png", pixels)
        save(folder / "image2.png", np.ascontiguousarray(second))
        (folder / "flip_gt.txt").write_text(flip)
        mask = np.zeros((64, 96), np.uint8)
        mask[16:48, 24:64] = 255
        save(folder / "mask1.png", mask)
        save(folder / "mask2.png", np.roll(mask, SHIFT, 1) if flip == "0" else np.zeros_like(mask))
        flow = np.zeros((64, 96, 2))
        flow[..., 0] = SHIFT
        flow[16:32, :, 1] = 6  # the annotation of the upper half is off by 6 px: over 0.05·96, within 0.1·96
        flow[:, 60:] = 1e10  # unknown
        write_flow(folder / "flow1.flo", flow)
        write_flow(folder / "flow2.flo", np.broadcast_to([-SHIFT, 0], flow.shape))
    np.testing.assert_allclose(read_flow(folder / "flow1.flo")[40, 0], [SHIFT, 0])
    report = run("tss", tmp_path / "t", tmp_path / "p", split="JODS", protocol="corrected")
    assert set(report.scores) == {f"JODS/00{k}/{d}" for k in (1, 2) for d in (1, 2)}
    assert report.scores["JODS/001/1"]["value"] == pytest.approx(0.5)
    assert report.scores["JODS/002/1"]["value"] == pytest.approx(0.5)  # matched in the mirrored picture
    assert report.scores["JODS/002/2"]["value"] is None  # no foreground
    assert report.rows["all"]["accuracy@0.1"] == pytest.approx(100)
    (folder / "flow1.flo").write_bytes(b"PIEH")
    with pytest.raises(DatasetError, match="not a flow file"):
        read_flow(folder / "flow1.flo")


def hpatches_root(root: Path) -> Path:
    rng = np.random.default_rng(0)
    points = rng.integers(20, 40, (30, 2)).astype(float)
    for sequence in ("v_one", "i_two"):
        for number, shift in ((1, 0), (2, SHIFT)):
            path = save(root / sequence / f"{number}.ppm", np.roll(cell_picture(), shift, 1))
            np.savez(path.with_name(path.name + ".det.npz"), keypoints=points + [shift, 0])
            (path.with_name(path.name + ".det.npz")).rename(path.with_name(path.name + ".det"))
        error = 4 if sequence == "i_two" else 0
        np.savetxt(root / sequence / "H_1_2", [[1, 0, SHIFT + error], [0, 1, 0], [0, 0, 1]])
    return root


@pytest.mark.parametrize(("protocol", "estimator"), [("released", "ransac"), ("corrected", "lmeds")])
def test_hpatches(tmp_path: Path, protocol: str, estimator: str) -> None:
    root = hpatches_root(tmp_path / "h")
    report = run("hpatches", root, tmp_path / "p", keypoints="det", protocol=protocol, estimator=estimator)
    view, light = report.rows["viewpoint"], report.rows["illumination"]
    assert view["homography@1"] == view["MMA@1"] == 100
    assert view["corner error (median px)"] == pytest.approx(0, abs=1e-6)
    assert light["homography@3"] == light["MMA@3"] == 0 and light["homography@5"] == light["MMA@5"] == 100
    assert light["corner error (median px)"] == pytest.approx(4)
    assert report.rows["all"]["homography@3"] == 50


def test_hpatches_detectors_and_layouts(tmp_path: Path) -> None:
    root = hpatches_root(tmp_path / "h")
    assert [item.key for item in load_benchmark("hpatches", root, BenchmarkOptions(split="viewpoint")).items()] == [
        "v_one/2"
    ]
    for kind in ("sift", "grid"):
        report = run("hpatches", root, tmp_path / kind, keypoints=kind, split="viewpoint")
        assert report.rows["all"]["matches"] > 4
    with pytest.raises(DatasetError, match=r"1\.ppm\.superpoint"):
        run("hpatches", root, tmp_path / "q", keypoints="superpoint")
    oxford = tmp_path / "o" / "graf"
    for number in (1, 3):
        save(oxford / f"img{number}.png", cell_picture(number))
    np.savetxt(oxford / "H1to3p", np.eye(3))
    assert [item.key for item in load_benchmark("hpatches", oxford.parent).items()] == ["graf/3"]


def test_keypoint_files(tmp_path: Path) -> None:
    points = np.array([[5.0, 1], [2, 2], [5, 1], [9, 9]])
    np.savez(tmp_path / "a.npz", keypoints=points, scores=[0.1, 0.9, 0.2, 0.8])
    np.savetxt(tmp_path / "a.txt", np.column_stack([points, np.ones(4)]))
    expected = np.array([[2.0, 2], [5, 1], [9, 9]])  # sorted, without repeats
    for name in ("a.npz", "a.txt"):
        np.testing.assert_array_equal(load_keypoints(tmp_path / name), expected)
    (tmp_path / "b").write_text("no numbers")
    with pytest.raises(DatasetError, match="keypoint file"):
        load_keypoints(tmp_path / "b")


def davis_root(root: Path, frames: int = 6) -> Path:
    pixels, mask = cell_picture(), np.zeros((64, 96), np.uint8)
    mask[16:48, 8:40] = 1
    mask[16:32, 56:64] = 2
    for number in range(frames):
        save(root / "JPEGImages" / "480p" / "cow" / f"{number:05}.jpg", np.roll(pixels, 8 * number, 1))
        write_mask(root / "Annotations" / "480p" / "cow" / f"{number:05}.png", np.roll(mask, 8 * number, 1))
    for year, line in (("2017", "cow"), ("2016", "/JPEGImages/480p/cow/00000.jpg /Annotations/480p/cow/00000.png")):
        path = root / "ImageSets" / year / "val.txt"
        path.parent.mkdir(parents=True)
        path.write_text(line + "\n")
    return root


@pytest.mark.parametrize("protocol", ["released", "corrected"])
@pytest.mark.parametrize("split", ["", "2016/val"])
def test_davis_follows_a_moving_object(tmp_path: Path, protocol: str, split: str) -> None:
    root = davis_root(tmp_path / "d")
    report = run("davis", root, tmp_path / "p", top_k=1, radius=0, protocol=protocol, split=split)
    assert len(report.scores["cow"]["objects"]) == (1 if split else 2)
    # Objects of 8×16 pixels lose their corners between cells of 8 pixels.
    assert report.rows["all"]["J-mean"] > (95 if split else 90) and report.rows["all"]["F-recall"] == 100
    written = read_mask(tmp_path / "p" / "cow" / "00003.png")
    assert written.shape == (64, 96) and set(np.unique(written)) == ({0, 1} if split else {0, 1, 2})


def test_davis_scores_by_hand(tmp_path: Path) -> None:
    root = davis_root(tmp_path / "d")
    benchmark = load_benchmark("davis", root, BenchmarkOptions(split="2017/val"))
    item = benchmark.items()[0]
    for number in range(6):
        truth = read_mask(root / "Annotations" / "480p" / "cow" / f"{number:05}.png")
        # The inner frames lag by 8 pixels, the outer ones (which do not count) are empty.
        write_mask(tmp_path / "cow" / f"{number:05}.png", np.roll(truth, -8, 1) * (0 < number < 5))
    row = benchmark.summarise([benchmark.score(item, {"folder": "cow"}, tmp_path)])
    assert row["J-mean"] == pytest.approx(100 * (24 / 40 + 0) / 2)  # object 1 overlaps, object 2 is 8 wide
    assert row["J-recall"] == pytest.approx(50) and row["J-decay"] == pytest.approx(0)
    assert row["J&F"] == pytest.approx((row["J-mean"] + row["F-mean"]) / 2)


def test_masks_in_both_styles(tmp_path: Path) -> None:
    mask = np.array([[0, 1], [2, 255]], np.uint8)
    write_mask(tmp_path / "p.png", mask)
    np.testing.assert_array_equal(read_mask(tmp_path / "p.png"), [[0, 1], [2, 0]])  # 255 is void
    assert PIL.Image.open(tmp_path / "p.png").convert("RGB").getpixel((1, 0)) == (128, 0, 0)
    save(tmp_path / "g.png", np.array([[0, 255]], np.uint8))
    np.testing.assert_array_equal(read_mask(tmp_path / "g.png"), [[0, 1]])


def jhmdb_root(root: Path) -> Path:
    """Three frames of a clip that moves by a cell; the last joint of the last frame is annotated 3 pixels off."""
    pixels = cell_picture()
    points = np.array([[19.5, 11.5], [43.5, 43.5]])  # centres of cells; the diagonal of their box is 40
    joints = np.stack([points + [8 * frame, 0] for frame in range(3)])
    joints[2, 1] += [0, 3]  # the annotation is off by 3 px: over 0.1·0.6·42.7, within 0.2·0.6·42.7
    for frame in range(3):
        save(root / "Rename_Images" / "run" / "clip" / f"0000{frame + 1}.png", np.roll(pixels, 8 * frame, 1))
    (root / "joint_positions" / "run" / "clip").mkdir(parents=True)
    savemat(
        root / "joint_positions" / "run" / "clip" / "joint_positions.mat", {"pos_img": joints.transpose(2, 1, 0) + 1}
    )
    (root / "splits").mkdir()
    (root / "splits" / "run_test_split1.txt").write_text("clip.avi 2\nother.avi 1\n")
    return root


def test_jhmdb(tmp_path: Path) -> None:
    root = jhmdb_root(tmp_path / "j")
    report = run("jhmdb", root, tmp_path / "p", top_k=1, radius=0)
    assert list(report.scores) == ["run/clip"] and report.scores["run/clip"]["count"] == 4
    assert report.rows["all"] == {"PCK@0.1": pytest.approx(75), "PCK@0.2": pytest.approx(100)}


def test_transfer_scores_by_hand(tmp_path: Path) -> None:
    benchmark = load_benchmark("transfer", spair_root(tmp_path), BenchmarkOptions(dataset="spair"))
    items = benchmark.items()
    assert len(items) == 1 and items[0].tags == ("not mirrored",)  # the pair with one keypoint is left out
    pair = items[0].data
    box = [[0, 0], [50, 0], [50, 60], [0, 60]]
    prediction = {
        "quad": box,
        "points": pair.target_points.tolist(),
        "confidence": 0.7,
        "mirrored": False,
        "reason": "",
    }
    score = benchmark.score(items[0], prediction, tmp_path)
    assert score == {"value": pytest.approx(0.5), "pck": 1.0, "confidence": 0.7, "mirror": True}
    reflected = {**prediction, "points": (pair.target_points[::-1] + [50, 0]).tolist(), "mirrored": True}
    assert benchmark.score(items[0], reflected, tmp_path)["mirror"] is False
    assert benchmark.summarise([score])["IoU"] == pytest.approx(50)


def test_transfer_runs(tmp_path: Path) -> None:
    report = run("transfer", spair_root(tmp_path / "s"), tmp_path / "p", dataset="spair", mirror="never")
    assert report.rows["all"]["IoU"] > 50


def test_resumes_and_refuses_to_mix(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root, folder = spair_root(tmp_path / "s"), tmp_path / "p"
    whole = run("spair", root, folder)
    lines = folder / "predictions.jsonl"
    kept = lines.read_bytes().splitlines(keepends=True)
    lines.write_bytes(kept[0] + kept[1][:20])  # killed while writing the second
    featurizer = CellColors()
    with caplog.at_level("INFO", logger="dift_edit"):
        again = run_benchmark("spair", root, featurizer, folder=folder)
    assert caplog.messages == ["1 of 2 items of spair were predicted before."]
    assert again.predicted == 1 and featurizer.calls == 2 and again.rows == whole.rows
    assert len(lines.read_bytes().splitlines()) == 2
    assert run("spair", root, folder).predicted == 0
    with pytest.raises(DatasetError, match=r"protocol .*'released' → 'corrected'"):
        run("spair", root, folder, protocol="corrected")
    with pytest.raises(DatasetError, match="fingerprint"):
        run_benchmark("spair", root, CellColors("other"), folder=folder)
    fresh = run_benchmark("spair", root, CellColors("other"), folder=folder, restart=True)
    assert fresh.predicted == 2
    other = tmp_path / "notes"
    other.mkdir()
    (other / "letter.txt").write_text("mine")
    with pytest.raises(DatasetError, match="not empty"):
        run_benchmark("spair", root, CellColors(), folder=other, restart=True)


@pytest.mark.parametrize("name", list(BENCHMARKS))
def test_missing_files_are_named_with_the_official_page(tmp_path: Path, name: str) -> None:
    options = BenchmarkOptions(dataset="spair")
    with pytest.raises(DatasetError, match=r"https?://"):
        load_benchmark(name, tmp_path / "none", options)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="expected under the root"):
        load_benchmark(name, tmp_path / "empty", options).items()


def test_missing_pictures_are_named_before_anything_runs(tmp_path: Path) -> None:
    root = spair_root(tmp_path / "s")
    (root / "JPEGImages" / "cat" / "b.jpg").unlink()
    with pytest.raises(DatasetError, match=r"b\.jpg is missing"):
        load_benchmark("spair", root).items()


def test_reports_and_comparison(tmp_path: Path) -> None:
    root = spair_root(tmp_path / "s")
    first = run("spair", root, tmp_path / "p")
    second = run("spair", root, tmp_path / "q", protocol="corrected")
    first.save(tmp_path / "r.json")
    assert load_report(tmp_path / "r.json").rows == first.rows
    table = compare_reports({"one": first, "two": second})
    assert [row[0] for row in table] == ["model", "one", "two"] and table[2][-2] == "1.0000"
    with pytest.raises(DatasetError, match="different benchmarks"):
        other = run("transfer", root, tmp_path / "t", dataset="spair", mirror="never")
        compare_reports({"one": first, "other": other})
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(DatasetError, match="not a result"):
        load_report(tmp_path / "bad.json")


def test_limit_spreads_over_the_list() -> None:
    assert spread(list(range(10)), 5) == [0, 2, 4, 6, 8]  # type: ignore[arg-type]
    assert spread(list(range(3)), 0) == [0, 1, 2]  # type: ignore[arg-type]


def test_command_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = spair_root(tmp_path / "s")
    output = tmp_path / "mini.json"
    words = ["evaluate", "spair", "--root", str(root), "--set", "short_sides=[64]", "-o", str(output)]
    assert main([*words, "--table", str(tmp_path / "t.md")]) == 0
    assert "PCK@0.1 per image" in capsys.readouterr().out
    assert (tmp_path / "t.md").read_text().startswith("|  | PCK@0.05")
    assert load_report(output).settings["options"]["protocol"] == "released"
    assert main([*words, "--protocol", "corrected"]) == 2
    assert "--restart" in capsys.readouterr().err
    words = ["compare", "spair", "--root", str(root), "-o", str(tmp_path / "c"), "--models", str(output), "no-such"]
    assert main(words) == 1
    out = capsys.readouterr().out
    assert "no-such was left out" in out and "mini" in out and (tmp_path / "c" / "comparison.csv").exists()
    assert main(["evaluate", "spair", "--root", str(tmp_path), "-o", str(output)]) == 2
    assert "cvlab.postech.ac.kr" in capsys.readouterr().err


def test_a_preset_gives_metric_and_estimator() -> None:
    from dift_edit.cli import build_parser
    from dift_edit.cli.evaluate import benchmark_options

    words = ["evaluate", "hpatches", "--root", "x", "-o", "y", "--preset"]
    options = benchmark_options(build_parser().parse_args([*words, "geometric-adm"]))
    assert (options.metric, options.estimator, options.pixels) == ("l2", "ransac", 3.0)
    options = benchmark_options(build_parser().parse_args([*words, "temporal-adm", "--top-k", "7"]))
    assert (options.temperature, options.top_k, options.last_frames) == (0.1, 7, 28)


def test_results_are_drawn(tmp_path: Path) -> None:
    davis, spair = davis_root(tmp_path / "d"), spair_root(tmp_path / "s")
    for name, root in (("davis", davis), ("spair", spair)):
        run_benchmark(name, root, CellColors(), folder=tmp_path / f"{name}-p", pictures=tmp_path / name)
    (strip,) = (tmp_path / "davis").iterdir()
    assert strip.name == "cow.jpg" and PIL.Image.open(strip).size[0] > 6 * 64
    drawn = [np.asarray(PIL.Image.open(path)).astype(int) for path in sorted((tmp_path / "spair").iterdir())]
    red = [int(((pixels[..., 0] > 180) & (pixels[..., 1:].max(-1) < 90)).sum()) for pixels in drawn]
    assert len(drawn) == 2 and red[0] > red[1]  # only the first pair has a match that counts as wrong
    with pytest.raises(DatasetError, match="cannot be drawn"):
        run_benchmark("hpatches", spair, CellColors(), folder=tmp_path / "h", pictures=tmp_path / "x")
