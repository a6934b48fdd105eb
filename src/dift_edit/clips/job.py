"""A clip in, a clip out: tracking, rendering and writing in one resumable job."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dift_edit.atomic_files import parse_json, read_regular, write_text
from dift_edit.clips.io import Clip, ClipWriter, as_clip, open_writer
from dift_edit.clips.io.folder import FolderWriter
from dift_edit.clips.resume import Scratch, fingerprint_in
from dift_edit.clips.sequence import SequenceTrack, render_sequence, track_sequence
from dift_edit.clips.tracking.plan import Keyframes
from dift_edit.clips.tracking.settings import SequenceSettings
from dift_edit.edits.base import Edit
from dift_edit.edits.layers import hides_content
from dift_edit.features.base import Featurizer
from dift_edit.imaging.image import Image
from dift_edit.rendering.compositing import Compositing
from dift_edit.types import FramesLike

__all__ = ["ClipReport", "process_clip"]


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipReport:
    """Result of carrying an edit through a clip.

    Attributes
    ----------
    output : Path
        What was written.
    track : SequenceTrack
        Where the edit was in every frame.
    applied : int
        Frames that got the edit.
    faded : int
        Of these, the ones in which it fades.
    unredacted : list of int
        Frames that a redaction is not on: they are in the output as they were.
    """

    output: Path
    track: SequenceTrack
    applied: int
    faded: int
    unredacted: list[int] = field(default_factory=list)

    def summary(self) -> str:
        """One line or two in words."""
        count, cuts = self.track.count, self.track.cuts
        text = f"The edit is on {self.applied} of {count} frames of {self.output}"
        if self.faded:
            text += f" (fading on {self.faded})"
        if cuts:
            shown = ", ".join(map(str, cuts[:20])) + ("…" if len(cuts) > 20 else "")
            text += f"; {len(cuts)} cut{'s' if len(cuts) > 1 else ''} at {shown}"
        return text + "."

    def warning(self) -> str:
        """Which frames were not redacted, in one line; empty where nothing was to be hidden, or all of it is."""
        frames = self.unredacted
        if not frames:
            return ""
        shown = ", ".join(map(str, frames[:20])) + ("…" if len(frames) > 20 else "")
        return (
            f"WARNING: {len(frames)} of {self.track.count} frames were NOT redacted and are in {self.output} as they "
            f"were: {shown}"
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain data: the summary's numbers and one row per frame."""
        return {
            "output": str(self.output),
            "frames": self.track.count,
            "applied": self.applied,
            "faded": self.faded,
            "unredacted": self.unredacted,
            "cuts": self.track.cuts,
            "keyframes": self.track.keyframes,
            "model": self.track.model.id,
            "rows": self.track.rows(),
        }


def process_clip(
    frames: FramesLike,
    edit: Edit | Mapping[int, Edit],
    output: Path | str,
    *,
    featurizer: Featurizer,
    keyframes: Keyframes = 0,
    settings: SequenceSettings | None = None,
    compositing: Compositing | None = None,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
    report: bool = True,
) -> ClipReport:
    """Carry an edit through a clip and write the result; a killed call goes on where it was and gives the same bytes.

    Parameters
    ----------
    frames, edit, featurizer, keyframes, settings, compositing
        As for `propagate_sequence`.
    output : path
        A video (.mp4, .mov, .mkv, .webm), .gif, .webp, or a folder. What was tracked is kept in a hidden folder
        beside it until it is whole. What hides something needs a folder without other pictures than this clip's frames.
    progress : callable
        Called with "following" or "writing", frames done, frames to do.
    report : bool
        Write ``OUT.sequence.json`` (place and confidence of every frame) and ``OUT.sequence.svg`` (a plot).

    Returns
    -------
    ClipReport

    Raises
    ------
    DiftEditError
        If an input is wrong or the output cannot be written.
    """
    clip = as_clip(frames)
    output = Path(output)
    scratch = Scratch(output)
    whole = False
    writer: ClipWriter | None = None
    try:
        hides = any(map(hides_content, edit.values() if isinstance(edit, Mapping) else [edit]))
        writer = open_writer(output, clip, scratch=scratch.folder, keep_metadata=not hides)
        if hides and isinstance(writer, FolderWriter):
            writer.check_no_others()
        track = track_sequence(
            clip,
            edit,
            featurizer=featurizer,
            keyframes=keyframes,
            settings=settings,
            journal=scratch.journal,
            progress=lambda done, total: progress("following", done, total),
        )
        written = _written(clip, track, writer, scratch, compositing, lambda done: progress("writing", done, len(clip)))
        result = _report(written, track)
        if report:
            scratch.put(output.with_name(f"{output.name}.sequence.json"), json.dumps(result.to_dict()) + "\n")
            scratch.put(output.with_name(f"{output.name}.sequence.svg"), track.plot(clip.name))
        whole = True
    finally:
        if writer is not None and not whole:
            writer.discard()
        scratch.close(keep=not whole and any(scratch.journal.glob("*.npz")))
    return result


def _written(
    clip: Clip,
    track: SequenceTrack,
    writer: ClipWriter,
    scratch: Scratch,
    compositing: Compositing | None,
    progress: Callable[[int], None],
) -> Path:
    """Render the frames and write them; into a folder only those that are not there yet."""
    rendered = _Rendered(scratch.folder, _look(scratch.journal, track, compositing))
    done = 0
    if isinstance(writer, FolderWriter):
        done = rendered.count
        writer.skip(done)
    for result in render_sequence(clip, track, compositing=compositing, start=done):
        assert result.image is not None
        writer.add(result.image, unchanged=result.opacity == 0)
        if isinstance(writer, FolderWriter):
            rendered.note(result.frame + 1)
        progress(result.frame + 1)
    return writer.close()


def _report(output: Path, track: SequenceTrack) -> ClipReport:
    opacity = np.array([track.opacity(frame) for frame in range(track.count)])
    shown = opacity > 0
    return ClipReport(
        output=output,
        track=track,
        applied=int(shown.sum()),
        faded=int((shown & (opacity < 1)).sum()),
        unredacted=track.unredacted,
    )


class _Rendered:
    """How many frames of a folder were written with the same look."""

    def __init__(self, folder: Path, look: str) -> None:
        self._path, self._look = folder / "rendered.json", look
        try:
            stored = parse_json(read_regular(self._path))
            self.count = max(int(stored["count"]), 0) if stored["look"] == look else 0
        except (OSError, OverflowError, ValueError, KeyError, TypeError):
            self.count = 0

    def note(self, count: int) -> None:
        write_text(self._path, json.dumps({"look": self._look, "count": count}))


def _look(journal: Path, track: SequenceTrack, compositing: Compositing | None) -> str:
    """Digest of what is put on the frames, and how: the clip and the settings are in the journal's fingerprint."""
    parts = [
        fingerprint_in(journal),
        [layer.edit.to_dict() for layer in track.layers],
        (compositing or Compositing()).fingerprint(),
    ]
    return hashlib.sha256(json.dumps(parts, default=_plain, sort_keys=True).encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, Image):
        return value.digest
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)
