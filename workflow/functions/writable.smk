# Fail early where .snakemake or logs cannot be written. Snakemake's own errors name neither folder.
from sdlcore.storage.files import check_writable


def unwritable():
    """The sentence on a folder that cannot be written, or nothing."""
    for folder in (".snakemake", "logs"):
        try:
            check_writable(folder)
        except OSError as error:
            return f"{folder}: {error.strerror}"
    return ""


# Before Snakemake locks the directory. Plans and lists write nothing that anyone needs.
if workflow.is_main_process and workflow.resource_settings.cores and not workflow.output_settings.dryrun:
    if sentence := unwritable():
        raise WorkflowError(sentence)


onerror:
    if sentence := unwritable():
        print(sentence, file=sys.stderr)
