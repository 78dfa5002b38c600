"""The REST API: reads of the finished tables over HTTP, through views and a role that may read nothing else."""
