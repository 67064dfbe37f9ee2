"""From pictures to a scheme: statistics, thresholds, tables."""
