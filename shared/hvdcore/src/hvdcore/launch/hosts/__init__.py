"""The hosts of a job before it starts: named, checked over ssh, compared; and their network."""
