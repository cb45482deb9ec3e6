# The folder of the checkout, which contains the scripts of jobs.
import subprocess
import tarfile
import tempfile
from io import BytesIO

from snakemake.exceptions import WorkflowError


def checkout(here):
    """Return the folder of the checkout, given this file's folder in Snakemake's representation.

    If the workflow is imported from a commit (gitfile, github, gitlab), the commit's files are unpacked once, below
    .snakemake in the working directory."""
    if not hasattr(here, "ref"):
        return Path(str(here)).parents[1]
    # these attributes are private and new in Snakemake; older versions keep no clone for github() and the like
    if not hasattr(here, "repo_path") and not hasattr(here, "hosted_repo"):
        raise WorkflowError(f"{here}: this Snakemake keeps no clone of it; clone it, and name workflow/Snakefile there")
    repository = here.repo_path if hasattr(here, "repo_path") else here.hosted_repo.repo_clone
    git = ["git", "-C", str(repository)]
    try:
        commit = subprocess.check_output([*git, "rev-parse", "--verify", f"{here.ref}^{{commit}}"], text=True).strip()
        folder = Path(".snakemake/sdlcore", commit).absolute()
        if not folder.is_dir():
            files = BytesIO(subprocess.check_output([*git, "archive", commit]))
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
                part = Path(scratch) / commit
                with tarfile.open(fileobj=files) as archive:
                    # the filter exists since Python 3.11.4
                    archive.extraction_filter = getattr(tarfile, "data_filter", None)
                    archive.extractall(part)
                try:
                    part.rename(folder)
                except OSError:
                    if not folder.is_dir():  # otherwise another process has unpacked it meanwhile
                        raise
    except (OSError, subprocess.CalledProcessError, tarfile.TarError) as error:
        raise WorkflowError(f"{repository}: could not unpack the files of {here.ref} ({error})")
    return folder


REPOSITORY = checkout(workflow.current_basedir)
