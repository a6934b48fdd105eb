"""The colours in which results and confidences are shown everywhere."""

from napari_dift_edit.state import Instance, Result

__all__ = ["COLOURS", "colour_of", "colour_of_confidence", "colour_of_instance"]

COLOURS = {
    "source": "#4cc9f0",
    "sure": "#3ddc84",
    "accepted": "#5b9dff",
    "hand": "#b388ff",
    "doubt": "#ffb020",
    "wrong": "#ff5c5c",
    "rejected": "#8a8f98",
    "stale": "#8a8f98",
}


def colour_of(result: Result) -> str:
    """The colour of a result."""
    if result.stale:
        return COLOURS["stale"]
    if result.visible and result.status == "applied":
        return COLOURS["wrong"]
    return COLOURS["rejected"] if result.status == "failed" else colour_of_instance(result)


def colour_of_instance(instance: Instance | Result) -> str:
    """The colour of one of several instances, or of the only one."""
    if instance.review == "rejected":
        return COLOURS["rejected"]
    if instance.review == "accepted":
        return COLOURS["accepted"]
    if instance.by_hand:
        return COLOURS["hand"]
    return COLOURS["sure"] if instance.shown else COLOURS["doubt"]


def colour_of_confidence(confidence: float) -> str:
    """The colour of one matched point: green from 80 %, amber from 50 %, else red; chosen."""
    return COLOURS["sure" if confidence >= 0.8 else "doubt" if confidence >= 0.5 else "wrong"]
