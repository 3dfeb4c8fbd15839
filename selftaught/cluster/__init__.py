"""The Kubernetes API and what things are called there: shared by serving, training and the doctor."""
