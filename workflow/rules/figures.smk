rule draw_figure:
    input:
        unpack(of_figure),
    output:
        table=f"<results>/{study.name}/figures/{{figure}}.csv",
        drawing=report(
            f"<results>/{study.name}/figures/{{figure}}.svg", caption="../report/figure.rst", category="Figures"
        ),
    log:
        f"<logs>/figure/{study.name}/{{figure}}.log",
    benchmark:
        f"<benchmarks>/figure/{study.name}/{{figure}}.tsv"
    wildcard_constraints:
        figure=one_of(study.figures),
    conda:
        "../../envs/report.yaml"
    params:
        code=code_hash("draw_figure"),
        settings=lambda wildcards: asdict(study.figure_settings(wildcards.figure)),
    message:
        "Draw the figure {wildcards.figure}"
    script:
        "../scripts/draw_figure.py"
