rule audit_leakage:
    input:
        splits=audited("splits"),
        caches=audited("caches"),
        scorers=audited("scorers"),
        predictions=f"<results>/{study.name}/predictions.csv",
        accuracy=f"<results>/{study.name}/accuracy_train.csv",
    output:
        report(f"<results>/{study.name}/audit.csv", caption="../report/audit.rst", category="Tables"),
    log:
        f"<logs>/audit/{study.name}.log",
    benchmark:
        f"<benchmarks>/audit/{study.name}.tsv"
    conda:
        "../../envs/learn.yaml"
    params:
        code=code_hash("audit_leakage"),
        plan=[asdict(entry) for entry in study.audit_plan()],
    message:
        "Audit the study for leakage"
    script:
        "../scripts/audit_leakage.py"
