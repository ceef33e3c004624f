from conda_standin.cli import conda

conda()
