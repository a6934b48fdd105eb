"""Kill runs over a clip at random moments, start them again, and compare the bytes with those of a calm run.

python tests/clip_kills.py 24    # so many kills of each kind of output
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

OUTPUTS = ("out.mp4", "out.gif", "out.webp", "frames")
COUNT = 26


def work(source: str, output: str, quad: list[list[float]], model: str, ticks) -> None:
    """One run, in a process of its own; `ticks` counts the frames that were followed and written."""
    from dift_edit import Sticker, load_featurizer, process_clip
    from dift_edit.clips import SequenceSettings

    pixels = np.full((20, 30, 4), (250, 20, 90, 255), np.uint8)

    def tick(stage: str, done: int, _total: int) -> None:
        ticks.value = done + (COUNT if stage == "writing" else 0)

    ticks.value = -1
    process_clip(
        source, Sticker(pixels, quad=quad), output, featurizer=load_featurizer(model), progress=tick,
        settings=SequenceSettings(working_side=128),
    )  # fmt: skip
    ticks.value = 1000


class Killer:
    """Starts runs in forked processes, so that each one is quick to start."""

    def __init__(self, folder: Path, *, model: str = "lite", seed: int = 0) -> None:
        from batch_data import forking
        from dift_edit.clips.io import open_writer
        from synthetic_clips import SyntheticClip

        self.folder, self._model = folder, model
        self._rng = np.random.default_rng(seed)
        self._context = forking()
        clip = SyntheticClip.drawn(COUNT, seed=12, size=(224, 128))
        self._quad = clip.quad(0).tolist()
        writer = open_writer(folder / "in.mp4", clip)
        for image in clip.read(0, COUNT):
            writer.add(image)
        self._source = str(writer.close())

    def run(self, output: Path, kill_at: int | None = None) -> int:
        """Run to the end, or kill when so many ticks were counted: the ticks that were seen last."""
        ticks = self._context.Value("i", -2)
        process = self._context.Process(target=work, args=(self._source, str(output), self._quad, self._model, ticks))
        process.start()
        if kill_at is not None:
            while ticks.value < kill_at and process.is_alive():
                time.sleep(0.001)
            time.sleep(float(self._rng.uniform(0, 0.02)))
            process.kill()
        process.join()
        assert kill_at is not None or process.exitcode == 0
        return int(ticks.value)

    def moment(self, writing: bool | None = None) -> int:
        """A random one: while following, while writing, or any; one of five while the file is finished."""
        if writing is None and self._rng.random() < 0.2:
            return 2 * COUNT
        low, high = {True: (COUNT, 2 * COUNT), False: (0, COUNT), None: (-1, 2 * COUNT)}[writing]
        return int(self._rng.integers(low, high + 1))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too. The report names its own path: that is left out."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {
        str(path.relative_to(folder)): path.read_bytes().replace(str(folder).encode(), b"")
        for path in paths
    }  # fmt: skip


def main() -> None:
    kills = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as name:
        killer = Killer(Path(name), model="mini")
        for output in OUTPUTS:
            calm = killer.folder / f"calm-{output}"
            calm.mkdir()
            killer.run(calm / output)
            wanted = contents(calm)
            done, moments, rounds, started = 0, [], 0, time.perf_counter()
            while done < kills:
                folder = killer.folder / f"{rounds}-{output}"
                folder.mkdir()
                rounds += 1
                for _ in range(int(killer._rng.integers(1, 4))):  # a job may be killed more than once
                    seen = killer.run(folder / output, killer.moment())
                    if seen < 1000:
                        done += 1
                        moments.append(seen)
                killer.run(folder / output)
                assert contents(folder) == wanted, f"{output} differs after kills at {moments[-3:]}"
            writing = sum(moment >= COUNT for moment in moments)
            finishing = sum(moment == 2 * COUNT for moment in moments)
            print(
                f"{output}: {done} kills in {rounds} jobs ({writing} while writing, {finishing} of these while the "
                f"file was finished): every job gave the same bytes and left nothing else; "
                f"{time.perf_counter() - started:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
