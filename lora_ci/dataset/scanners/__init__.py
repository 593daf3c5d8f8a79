"""What looks into the files of a dataset for malware and for what an operator's rules name."""
