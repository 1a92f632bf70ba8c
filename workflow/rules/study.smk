# The study: read and checked once a run, so that every job of it is of the same.
import os
from functools import partial

from snakemake.exceptions import WorkflowError

from isogloss.errors import IsoglossError
from isogloss.sources.endpoint import require_endpoint

try:
    require_endpoint()
except IsoglossError as error:
    raise WorkflowError(str(error))

from isogloss.config import load_study
from isogloss.config.files import check_files, with_numbers
from isogloss.config.folders import PLANNED, require_folders
from isogloss.config.questions import Tasks
from isogloss.running import keep_study, kept_digest, kept_study, record
from isogloss.sources.shapes import kept_shape
from isogloss.sources.task_registry import known_tasks, nearest
from isogloss.surroundings import require_surroundings

# A run keeps to the study that it began with, so an edit of its file is the next run's. A module's is its caller's.
KEEPING = workflow.modifier.is_main_snakefile()

try:
    if workflow.is_main_process and KEEPING:
        require_surroundings(workflow.resource_settings.cores, workflow.resource_settings.nodes)
        check_files(workflow.overwrite_configfiles)
    given = with_numbers(config, workflow.config_settings.config)
    STUDY = load_study(
        given if workflow.is_main_process or not KEEPING else kept_study(given),
        shape_of=partial(kept_shape, fetch=workflow.is_main_process),
        tasks=Tasks(known_tasks, nearest),
    )
    if workflow.is_main_process and KEEPING:
        keep_study(given)
    if workflow.is_main_process and PLANNED not in os.environ:
        require_folders(STUDY)
except IsoglossError as error:
    raise WorkflowError(str(error))

# From here on `config` holds every default too: captions and metadata read it. The caller's own stays as it is.
config = STUDY.resolved()

# The digest of a stage's code: the process that plans the run keeps it, so that its jobs notice an edit.
code = record if workflow.is_main_process else kept_digest
