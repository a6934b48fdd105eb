"""dift-edit in napari: place an edit on one photo, see it on all of them, correct it where it is wrong.

The modules, from the canvas down: `widget` (the dock) and `scene` (helper layers on the canvas) show an `editor`'s
`state`; the editor asks the `client`, which runs `engine` in a process of its own, so that neither importing torch nor
running a network ever holds up the viewer. `layers` is the one place that knows napari's (row, column) order and
world coordinates; everything else speaks (x, y) pixels, like dift_edit itself.
"""
