"""merflow: from raw face clips to a micro-expression recognition study. `snakemake --cores 8` runs config.yaml."""

from snakemake.logging import logger


include: "workflow/Snakefile"


workflow.default_target = "all"  # The default target of an included file does not count.

from merflow.runtime.progress import plain_names, show_progress_line  # workflow/Snakefile has put merflow on the path.

if workflow.is_main_process:
    logger.addFilter(plain_names)
    show_progress_line(logger, lambda: workflow.dryrun)
