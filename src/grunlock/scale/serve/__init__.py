"""The server's application in replicas of Ray Serve."""
