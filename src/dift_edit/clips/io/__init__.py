"""Clips in and out: folders of frames, videos (PyAV) and animated images, always streamed.

`open_clip` gives frames by number, `open_writer` takes edited frames in order. The timing, the audio and the names
of the frames go from one to the other.
"""

from dift_edit.clips.io.base import Clip, ClipWriter, ListClip, iterate_reversed
from dift_edit.clips.io.opening import as_clip, open_clip, open_writer

__all__ = ["Clip", "ClipWriter", "ListClip", "as_clip", "iterate_reversed", "open_clip", "open_writer"]
