"""Outside systems: one file each; foreign errors are translated here and nowhere else."""
