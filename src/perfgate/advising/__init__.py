"""From a goal and measured runs to a ranked list of techniques, with the evidence for each."""
