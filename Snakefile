"""merflow: from raw face clips to a micro-expression recognition study. `snakemake --cores 8` runs config.yaml."""


include: "workflow/Snakefile"


workflow.default_target = "all"  # The default target of an included file does not count.
