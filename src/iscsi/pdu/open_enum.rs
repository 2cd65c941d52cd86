//! Wire enums are open: a value that the standard does not name is carried, not lost.

/// Defines an enum over a wire integer, with `Unknown` for every value without a name.
macro_rules! open_enum {
    (
        $(#[$meta:meta])*
        pub enum $name:ident: $wire:tt {
            $($(#[$variant_meta:meta])* $variant:ident = $value:literal,)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)+
            /// Any other value.
            Unknown($wire),
        }

        impl $name {
            /// From the wire; every value has a meaning.
            #[must_use]
            #[inline]
            pub const fn from_wire(value: $wire) -> Self {
                match value {
                    $($value => Self::$variant,)+
                    other => Self::Unknown(other),
                }
            }

            /// To the wire.
            #[must_use]
            pub const fn to_wire(self) -> $wire {
                match self {
                    $(Self::$variant => $value,)+
                    Self::Unknown(value) => value,
                }
            }
        }

        open_enum!(@code $name $wire);
    };
    (@code $name:ident u8) => {
        impl $crate::iscsi::pdu::layout::Code for $name {
            fn from_code(value: u8) -> Self {
                Self::from_wire(value)
            }
            fn to_code(self) -> u8 {
                self.to_wire()
            }
        }
    };
    (@code $name:ident $wire:tt) => {};
}
