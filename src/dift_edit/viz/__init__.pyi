from .annotated import draw_annotations as draw_annotations
from .draw import STATUS_COLORS as STATUS_COLORS
from .draw import before_after as before_after
from .draw import contact_sheet as contact_sheet
from .draw import draw_heatmap as draw_heatmap
from .draw import draw_matches as draw_matches
from .draw import draw_mesh as draw_mesh
from .draw import draw_quad as draw_quad

__all__ = [
    "STATUS_COLORS",
    "before_after",
    "contact_sheet",
    "draw_annotations",
    "draw_heatmap",
    "draw_matches",
    "draw_mesh",
    "draw_quad",
]
