"""What the user can choose, a module for each page or group of choices: parameters only, no widget, no data."""
