"""The models: networks and their layers, word vectors, the text vectorizer, and TF-IDF."""
