"""Write the report of the study: one HTML file, and its drawings as files."""

from pathlib import Path

from merflow.report.page import write_report
from merflow.report.report_data import ReportData
from merflow.report.settings import ReportSettings
from merflow.runtime.script_context import from_params, script_context

with script_context(snakemake):
    settings = from_params(ReportSettings, snakemake.params.settings)
    report = ReportData.from_rule(settings, snakemake.input)
    write_report(report, Path(snakemake.output.page), Path(snakemake.output.figures))
