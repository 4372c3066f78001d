"""Results that other programs measured, read strictly and made runs of ours (docs/importing.md)."""
