"""What is asked of Amazon: CloudWatch, ElastiCache, CloudFormation."""
