# Fail early if .snakemake or logs cannot be written. Snakemake's own errors do not name the folder.
from sdlcore.storage.files import check_writable


def unwritable():
    """Return an error message on a folder that cannot be written; empty if both can."""
    for folder in (".snakemake", "logs"):
        try:
            check_writable(folder)
        except OSError as error:
            return f"{folder}: {error.strerror}"
    return ""


# Checked before Snakemake locks the directory. Plans and lists write no results, so they may run anyway.
if workflow.is_main_process and workflow.resource_settings.cores and not workflow.output_settings.dryrun:
    if sentence := unwritable():
        raise WorkflowError(sentence)


onerror:
    if sentence := unwritable():
        print(sentence, file=sys.stderr)
