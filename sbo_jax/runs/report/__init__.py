"""What a run leaves for people: report.md and its pictures. Programs read summary.json."""

from .report import write_report as write_report
