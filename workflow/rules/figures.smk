rule draw_figure:
    input:
        unpack(lambda w: figures.inputs(w.figure)),
    output:
        table="<study>/figures/{figure}.csv",
        drawing=report("<study>/figures/{figure}.svg", caption="../report/figure.rst", category="Figures"),
    log:
        "<logs>/draw_figure/<name>/{figure}.log",
    benchmark:
        "<benchmarks>/draw_figure/<name>/{figure}.tsv"
    wildcard_constraints:
        figure=one_of(figures.blocks),
    conda:
        "../../envs/report.yaml"
    params:
        code=script_hash("draw_figure"),
        # Reruns if `figures.settings` changes; it leaves out all numbers, which are files.
        settings=lambda w: asdict(figures.settings(w.figure)),
    message:
        "Draw the figure {wildcards.figure}"
    script:
        "../scripts/draw_figure.py"
