"""The service: ratings in, recommendations out, over HTTP. ``app.create_app`` puts it together."""
