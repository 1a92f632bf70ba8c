# What a profile asks of a cluster for each rule, checked before anything is submitted.
from isogloss.config.gpus import check_gpus

if workflow.is_main_process:
    for ruled in workflow.rules:
        # The command line's expressions are read for each job: their text is `raw`.
        gpu, gres = [ruled.resources.get(name) for name in ("gpu", "gres")]
        try:
            check_gpus(ruled.name, *[each.raw if each.is_evaluable() else each.value for each in (gpu, gres)])
        except IsoglossError as error:
            raise WorkflowError(str(error))
