"""The client against httpbin under gunicorn: what people try first, on the server that they try it on."""
