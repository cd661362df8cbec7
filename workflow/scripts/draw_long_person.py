"""Draw the long video of one synthetic person."""

from pathlib import Path

from merflow.datasets.settings import LongPeopleSettings
from merflow.datasets.synthetic.long_people import write_person
from merflow.runtime.script_context import script_context

with script_context(snakemake):
    settings = LongPeopleSettings(**snakemake.params.settings)
    write_person(snakemake.wildcards.subject, settings, Path(snakemake.output[0]))
