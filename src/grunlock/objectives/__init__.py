"""What training minimises and what models are judged by. Import the module you need: losses needs torch."""
