//! What all types of sockets have: endpoints, events, options.
#![forbid(unsafe_code)]

/// Adds the methods of endpoints to a socket with a field `endpoints` and a method `settle`, which
/// takes the news of its peers.
macro_rules! endpoint_methods {
    ($socket:ident) => {
        impl $socket {
            /// Binds an endpoint and accepts peers there, in the background. A socket may bind and
            /// connect to any number of endpoints, each with its own security. Returns the endpoint
            /// with the real port if the system chose it.
            ///
            /// Cancel-safe: dropping the future frees the endpoint.
            ///
            /// # Errors
            /// Returns [`AttachError`](crate::AttachError) if the endpoint or the configuration cannot
            /// be used.
            pub async fn bind(
                &mut self,
                endpoint: impl zmtp_auth::net::IntoEndpoint,
                security: impl Into<zmtp_auth::Security>,
            ) -> Result<zmtp_auth::net::Endpoint, crate::AttachError> {
                self.endpoints.bind(endpoint, security.into()).await
            }

            /// Connects to an endpoint, in the background, and connects again whenever the connection is
            /// lost. Needs a tokio runtime.
            ///
            /// It returns before the server has answered. A server that refuses this client, has another
            /// key or is not there is no error of this call: each failed attempt is a
            /// [`SocketEvent::Retrying`](crate::SocketEvent::Retrying) with the cause and the time of
            /// the next. Meanwhile messages wait in the queue, and what receives waits. So read
            /// [`events`](Self::events), and print them while a program is new.
            ///
            /// # Errors
            /// Returns [`AttachError`](crate::AttachError) if the endpoint or the configuration cannot
            /// be used.
            pub fn connect(
                &mut self,
                endpoint: impl zmtp_auth::net::IntoEndpoint,
                security: impl Into<zmtp_auth::Security>,
            ) -> Result<(), crate::AttachError> {
                self.endpoints
                    .connect(endpoint.into_endpoint()?, security.into())
            }

            /// Binds a name within the process, to which sockets connect that have the registry. It takes no
            /// security: the peers are this process ([`Inproc`](crate::Inproc)). The name is free again
            /// when the endpoint is unbound, or the socket is closed or dropped. Needs a tokio runtime.
            ///
            /// # Errors
            /// Returns [`AttachError::NameInUse`](crate::AttachError::NameInUse) if a socket is bound to
            /// the name, and another [`AttachError`](crate::AttachError) if the name or the options
            /// cannot be used.
            pub fn bind_inproc(
                &mut self,
                registry: &crate::Inproc,
                name: &str,
            ) -> Result<zmtp_auth::net::Endpoint, crate::AttachError> {
                self.endpoints.bind_inproc(registry, name)
            }

            /// Connects to a name within the process, also before a socket is bound to it, and connects to
            /// the next socket that is bound to it when the connection is lost. Needs a tokio runtime.
            ///
            /// # Errors
            /// Returns [`AttachError`](crate::AttachError) if the name or the options cannot be used.
            pub fn connect_inproc(
                &mut self,
                registry: &crate::Inproc,
                name: &str,
            ) -> Result<zmtp_auth::net::Endpoint, crate::AttachError> {
                self.endpoints.connect_inproc(registry, name)
            }

            /// Frees a bound endpoint and closes the connections of the peers that came by it. What they
            /// have sent and was not received is dropped. What is queued for them still leaves in the
            /// background.
            ///
            /// Cancel-safe: if the future is dropped, the endpoint is freed in the background, and the
            /// next call of the socket closes the connections.
            ///
            /// # Errors
            /// Returns [`AttachError::NoSuchEndpoint`](crate::AttachError::NoSuchEndpoint) if it is not
            /// bound.
            pub async fn unbind(
                &mut self,
                endpoint: &zmtp_auth::net::Endpoint,
            ) -> Result<(), crate::AttachError> {
                self.endpoints.unbind(endpoint).await?;
                // Takes the removal of the peers at once, and not with the next message.
                self.settle();
                Ok(())
            }

            /// Gives up an endpoint that was connected to. What has arrived from it and was not received
            /// is dropped. What is queued for it still leaves in the background, for at most the linger
            /// time.
            ///
            /// # Errors
            /// Returns [`AttachError::NoSuchEndpoint`](crate::AttachError::NoSuchEndpoint) if it was not
            /// connected to.
            pub fn disconnect(
                &mut self,
                endpoint: &zmtp_auth::net::Endpoint,
            ) -> Result<(), crate::AttachError> {
                self.endpoints.disconnect(endpoint)?;
                self.settle();
                Ok(())
            }

            /// The endpoints that are bound or connected to.
            pub fn endpoints(&self) -> impl Iterator<Item = &zmtp_auth::net::Endpoint> {
                self.endpoints.list()
            }

            /// The events of this socket from now on.
            #[must_use]
            pub fn events(&self) -> crate::Events {
                self.endpoints.events()
            }
        }

        impl Default for $socket {
            fn default() -> Self {
                Self::new()
            }
        }

        impl std::fmt::Debug for $socket {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let endpoints: Vec<_> = self.endpoints.list().collect();
                f.debug_struct(stringify!($socket))
                    .field("endpoints", &endpoints)
                    .finish_non_exhaustive()
            }
        }
    };
}

/// Adds the counter of messages that their senders may not publish, to a socket whose fair queue is in
/// this field.
macro_rules! topic_methods {
    ($socket:ident, $field:ident) => {
        impl $socket {
            /// The number of messages that were dropped because the policy does not let their sender
            /// publish their topic: the first frame. A DEALER judges the first frame unless it is empty, and
            /// the frame behind the first empty one. A REQ judges the first frame of the body.
            #[must_use]
            pub const fn not_permitted(&self) -> u64 {
                self.$field.not_permitted()
            }
        }
    };
}
