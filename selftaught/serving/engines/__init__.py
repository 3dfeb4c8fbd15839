"""Engines as processes: started, kept and stopped on a machine, and the programs that they run."""
