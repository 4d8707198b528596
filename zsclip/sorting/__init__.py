"""Pictures -> folders by label, so that nothing is lost and all of it can be undone."""
