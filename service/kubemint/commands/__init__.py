"""The command line of the service's own machine; `kubemint.client` has the commands that talk to a service."""
