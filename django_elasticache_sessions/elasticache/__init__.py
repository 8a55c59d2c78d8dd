"""What is Amazon's: signing in by IAM, and encryption keys wrapped by KMS."""
