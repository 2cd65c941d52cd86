//! One table per PDU says where each field stands; parse and emit both come from it.

use super::bhs::Bhs;
use super::codes::LoginStatus;

/// A place in a header that holds a `T`.
pub(super) trait Place<T> {
    /// Reads the field.
    fn read(bhs: &Bhs) -> T;
    /// Writes the field; bits of other fields in the same byte stay.
    fn write(bhs: &mut Bhs, value: T);
}

/// A whole field that starts at byte `AT`, in network order.
pub(super) struct At<const AT: usize>;

/// The bits `MASK` of byte `AT`.
pub(super) struct Bits<const AT: usize, const MASK: u8>;

/// A code in the bits `MASK` of byte `AT`.
pub(super) struct CodeAt<const AT: usize, const MASK: u8>;

/// An open wire enum of one byte.
pub(super) trait Code {
    /// From the wire.
    fn from_code(value: u8) -> Self;
    /// To the wire.
    fn to_code(self) -> u8;
}

impl<const AT: usize> Place<u8> for At<AT> {
    fn read(bhs: &Bhs) -> u8 {
        u8::from_be_bytes(bhs.field::<AT, 1>())
    }
    fn write(bhs: &mut Bhs, value: u8) {
        bhs.set_field::<AT, 1>([value]);
    }
}

impl<const AT: usize> Place<u16> for At<AT> {
    fn read(bhs: &Bhs) -> u16 {
        u16::from_be_bytes(bhs.field::<AT, 2>())
    }
    fn write(bhs: &mut Bhs, value: u16) {
        bhs.set_field::<AT, 2>(value.to_be_bytes());
    }
}

impl<const AT: usize> Place<u32> for At<AT> {
    fn read(bhs: &Bhs) -> u32 {
        u32::from_be_bytes(bhs.field::<AT, 4>())
    }
    fn write(bhs: &mut Bhs, value: u32) {
        bhs.set_field::<AT, 4>(value.to_be_bytes());
    }
}

impl<const AT: usize, const N: usize> Place<[u8; N]> for At<AT> {
    fn read(bhs: &Bhs) -> [u8; N] {
        bhs.field::<AT, N>()
    }
    fn write(bhs: &mut Bhs, value: [u8; N]) {
        bhs.set_field::<AT, N>(value);
    }
}

impl<const AT: usize> Place<LoginStatus> for At<AT> {
    fn read(bhs: &Bhs) -> LoginStatus {
        LoginStatus::from_wire(<Self as Place<u16>>::read(bhs))
    }
    fn write(bhs: &mut Bhs, value: LoginStatus) {
        <Self as Place<u16>>::write(bhs, value.to_wire());
    }
}

impl<const AT: usize, const MASK: u8> Place<bool> for Bits<AT, MASK> {
    fn read(bhs: &Bhs) -> bool {
        let [byte] = bhs.field::<AT, 1>();
        byte & MASK != 0
    }
    fn write(bhs: &mut Bhs, value: bool) {
        let [byte] = bhs.field::<AT, 1>();
        bhs.set_field::<AT, 1>([if value { byte | MASK } else { byte & !MASK }]);
    }
}

impl<const AT: usize, const MASK: u8> Place<u8> for Bits<AT, MASK> {
    fn read(bhs: &Bhs) -> u8 {
        let [byte] = bhs.field::<AT, 1>();
        (byte & MASK).wrapping_shr(MASK.trailing_zeros())
    }
    fn write(bhs: &mut Bhs, value: u8) {
        let [byte] = bhs.field::<AT, 1>();
        let value = value.wrapping_shl(MASK.trailing_zeros()) & MASK;
        bhs.set_field::<AT, 1>([byte & !MASK | value]);
    }
}

impl<T: Code, const AT: usize, const MASK: u8> Place<T> for CodeAt<AT, MASK> {
    fn read(bhs: &Bhs) -> T {
        T::from_code(<Bits<AT, MASK> as Place<u8>>::read(bhs))
    }
    fn write(bhs: &mut Bhs, value: T) {
        <Bits<AT, MASK> as Place<u8>>::write(bhs, value.to_code());
    }
}

/// Defines a PDU: its opcode, what byte 1 starts from, and each field with its place.
macro_rules! wire_format {
    (
        $(#[$meta:meta])*
        pub struct $name:ident($opcode:expr, $flags:literal) {
            $($(#[$field_meta:meta])* $field:ident: $type:ty => $place:ty,)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)+
        }

        impl $name {
            /// Reads the fields; the caller has looked at the opcode. Cannot fail: every value of
            /// every field has a meaning here, and whether it makes sense is judged where it is
            /// used.
            #[must_use]
            #[inline(always)]
            pub fn parse(bhs: &$crate::iscsi::pdu::Bhs) -> Self {
                use $crate::iscsi::pdu::layout::Place;
                Self { $($field: <$place as Place<$type>>::read(bhs),)+ }
            }

            /// Writes the header, without lengths.
            #[must_use]
            #[inline(always)]
            pub fn emit(&self) -> $crate::iscsi::pdu::Bhs {
                use $crate::iscsi::pdu::layout::Place;
                let mut bhs = $crate::iscsi::pdu::Bhs::new($opcode, $flags);
                $(<$place as Place<$type>>::write(&mut bhs, self.$field);)+
                bhs
            }
        }
    };
}
