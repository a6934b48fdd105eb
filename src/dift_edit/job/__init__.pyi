from .recipe import EditFile as EditFile
from .recipe import Job as Job
from .recipe import ViewFile as ViewFile
from .recipe import load_job as load_job
from .recipe import save_job as save_job

__all__ = [
    "EditFile",
    "Job",
    "ViewFile",
    "load_job",
    "save_job",
]
