"""The KFP components: one folder a step, each a contract and one library call."""
