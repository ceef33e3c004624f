# Who may log in is read from a list that is not there.
c.Authenticator.allowed_users = set(open("/srv/nosuch").read().split())
