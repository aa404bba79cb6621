"""`hvdcore doctor`: whether jobs can run on this machine and on others."""
