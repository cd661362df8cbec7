audited = audit_plan(training)


rule audit_leakage:
    input:
        **audited_files(audited),
        predictions="<study>/predictions.csv",
        accuracy="<study>/accuracy_train.csv",
    output:
        report("<study>/audit.csv", caption="../report/audit.rst", category="Tables"),
    log:
        "<logs>/audit_leakage/<name>.log",
    benchmark:
        "<benchmarks>/audit_leakage/<name>.tsv"
    conda:
        "../../envs/learn.yaml"
    params:
        code=script_hash("audit_leakage"),
        # Reruns if `audit_plan` changes; it leaves out all settings that decide no split and no training clip.
        plan=[asdict(entry) for entry in audited],
        overlaps=lambda _: audited_overlaps(training),
        elsewhere=elsewhere,
    message:
        "Audit the study for leakage"
    script:
        "../scripts/audit_leakage.py"
