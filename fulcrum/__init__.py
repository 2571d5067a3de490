"""The fulcrum command: one door to both halves of the house."""
