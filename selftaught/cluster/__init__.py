"""The Kubernetes client and object names: shared by serving, training and the doctor."""
