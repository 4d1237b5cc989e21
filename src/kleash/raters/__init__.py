"""Who compares answers: AI judges alone or as a panel, how they are asked, watched and paid for."""
