"""Language modelling on texts without labels, and the folder that a training then starts from."""
