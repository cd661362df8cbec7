"""Write the study as one archive to cite, without faces and frames."""

from pathlib import Path

from merflow.report.bundle import write_bundle
from merflow.report.report_data import ReportData
from merflow.report.settings import ReportSettings
from merflow.runtime.script_context import from_params, script_context

with script_context(snakemake):
    report = ReportData.from_rule(from_params(ReportSettings, snakemake.params.settings), snakemake.input)
    output = Path(snakemake.output[0])
    files = [Path(file) for file in snakemake.input if Path(file).is_relative_to(output.parent)]
    write_bundle(report, files, output.parent, snakemake.params.version, output)
