"""The ruler that load clients are measured with: a server whose send times are exact and logged."""
